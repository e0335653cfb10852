-- a join instead of a window function: DuckDB then reads only the versions that a filter on `changed_at` selects
with versions as (
  select
    patient_id,
    version_number,
    valid_from,
    ended_by,
    cast(struct_pack(
      *columns(* exclude ({{ version_columns() }}, patient_id, observed_at, updated_at))
    ) as map(varchar, varchar)) as content  -- noqa: LT01
  from {{ ref('patients_history') }}
),

fields as (
  select
    versions.patient_id,
    unnest(map_keys(versions.content)) as field,
    previous.content as old_content,
    versions.content as new_content,
    versions.valid_from as changed_at,
    versions.version_number
  from versions
  inner join versions as previous
    on versions.patient_id = previous.patient_id and versions.version_number - 1 = previous.version_number
  where previous.ended_by = 'change'
)

select
  patient_id,
  field,
  old_content[field] as old,
  new_content[field] as new,
  changed_at,
  version_number
from fields
where old_content[field] is distinct from new_content[field]
