-- Members, invitations, and what happens to a tenant as a whole.
select 1;
