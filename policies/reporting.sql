-- Reports across tenants, and the dump of everything.
select 1;
