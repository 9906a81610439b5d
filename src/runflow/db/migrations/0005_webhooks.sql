-- Callback secrets, webhooks, and their deliveries.

SELECT 1;
