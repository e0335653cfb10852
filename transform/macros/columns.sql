{% macro raw_columns() %}
  {{ return(adapter.get_columns_in_relation(source('raw', 'patients')) if execute else []) }}
{% endmacro %}

{# A column of raw.patients together with its values of earlier types, which the loader keeps in columns
   `<name>_YYYYMMDD_HHMM`. #}
{% macro values_of_all_types(name, type=none) -%}
  coalesce(
    {%- for column in raw_columns() if modules.re.fullmatch(name ~ '(_[0-9]{8}_[0-9]{4}.*)?', column.name) -%}
      try_cast({{ column.quoted }} as {{ type or (raw_columns() | selectattr('name', 'equalto', name) | first).data_type }}),{{ ' ' }}
    {%- endfor -%}
    null)
{%- endmacro %}
