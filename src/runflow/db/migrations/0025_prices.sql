-- A second on one's own machine costs nothing until its operator says so. Prices that somebody set stay.
UPDATE gpus SET price_per_second = 0
WHERE (code, price_per_second) IN (
    ('L4', 0.000147), ('A10G', 0.000222), ('L40S', 0.000444), ('A100', 0.000917), ('H100', 0.001250));
