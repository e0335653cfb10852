{{ config(materialized='table_function', parameters=['at timestamp'], persist_docs={}) }}
select * except (patient_version_id, version_number, valid_from, valid_to, is_current, ended_by, sync_started_at)
from {{ ref('patients_history') }}
where valid_from <= patients_as_of.at and (valid_to > patients_as_of.at or is_current)
