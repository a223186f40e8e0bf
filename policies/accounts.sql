-- Codes, sign-in by other providers, second factors.
select 1;
