-- Alerts: filled in by its slice.
select;
