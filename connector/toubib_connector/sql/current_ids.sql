-- The ids of the patients whose newest observation is not a deletion, those not built yet included.
select id
from raw.patients
where id is not null
group by id
having arg_max(_sdc_deleted_at is null, (_sdc_extracted_at, _sdc_deleted_at is not null))
