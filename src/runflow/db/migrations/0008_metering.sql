-- Balances, budgets, usage per day.

SELECT 1;
