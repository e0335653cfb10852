-- a table: several tests read it
{{ config(materialized='table') }}

{{ touched_patients('tested_until') }}
