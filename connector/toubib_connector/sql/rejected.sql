select
  coalesce(field, '(the whole record)') as field,
  reason,
  count(distinct record) as records,
  -- an id that is not a number can be a value of another field
  array_to_string(list_sort(list(distinct try_cast(id as hugeint)))[:5], ', ') as "first ids",
  max(_sdc_extracted_at) as "last seen, UTC"
from raw.rejected_records
group by all
order by max(_sdc_extracted_at) desc
limit 20
