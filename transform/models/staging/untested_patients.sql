-- a table because several data tests read it
{{ config(materialized='table') }}

{{ touched_patients('tested_until') }}
