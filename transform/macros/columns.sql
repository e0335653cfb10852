{# The columns that patients_history has and patients has not. #}
{% macro version_columns() -%}
  patient_version_id, version_number, valid_from, valid_to, is_current, ended_by, sync_started_at
{%- endmacro %}

{% macro raw_columns() %}
  {{ return(adapter.get_columns_in_relation(source('raw', 'patients')) if execute else []) }}
{% endmacro %}

{# A regular expression for the rest of a name: if a column's type changes, the loader keeps the old column as
   `<name>_YYYYMMDD_HHMM`. #}
{% macro any_type() -%} (_[0-9]{8}_[0-9]{4}.*)? {%- endmacro %}

{# A column of raw.patients together with its values of earlier types. #}
{% macro values_of_all_types(name, type=none) -%}
  coalesce(
    {%- for column in raw_columns() if modules.re.fullmatch(name ~ any_type(), column.name) -%}
      try_cast({{ column.quoted }} as {{ type or (raw_columns() | selectattr('name', 'equalto', name) | first).data_type }}),{{ ' ' }}
    {%- endfor -%}
    null)
{%- endmacro %}
