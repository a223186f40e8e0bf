-- Second factors, and sign-in by other providers.
select 1;
