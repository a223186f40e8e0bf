-- Codes by mail, sessions, what is known of failed sign-ins.
select 1;
