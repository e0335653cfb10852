-- what the last runs did
select *
from main.syncs
order by started_at desc
limit 10;
