{# SQL that not every engine understands stands here and in `spark/`, and nowhere besides. #}

{# Several columns of a relation as one value, compared null-safely as a whole, and one of its columns. #}
{% macro bundle(names, relation='') %}
  {{- return(adapter.dispatch('bundle')(names, relation)) }}
{% endmacro %}

{% macro duckdb__bundle(names, relation='') -%}
  struct_pack({% for name in names %}{{ quoted(name) }} := {{ columns([name], relation) }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# The first or last value of a window that is not null, without the window. #}
{% macro skip_nulls(function, value) %}
  {{- return(adapter.dispatch('skip_nulls')(function, value)) }}
{% endmacro %}

{% macro duckdb__skip_nulls(function, value) -%}
  {{ function }}({{ value }} ignore nulls)
{%- endmacro %}

{# An instant some microseconds later, or earlier if negative. #}
{% macro add_microseconds(instant, number) %}
  {{- return(adapter.dispatch('add_microseconds')(instant, number)) }}
{% endmacro %}

{% macro duckdb__add_microseconds(instant, number) -%}
  {{ instant }} + to_microseconds({{ number }})
{%- endmacro %}

{# An instant in UTC: one that names no zone is, others are brought to it, whatever the session's zone is. #}
{% macro utc(instant) %}
  {{- return(adapter.dispatch('utc')(instant)) }}
{% endmacro %}

{% macro duckdb__utc(instant) -%}
  case
    when regexp_matches(cast({{ instant }} as varchar), ':.*(Z|[+-][0-9:]+)$')
      then cast({{ instant }} as timestamptz) at time zone 'UTC'
    else cast({{ instant }} as timestamp)
  end
{%- endmacro %}

{# A value as another type, null where it has no such value: dbt's own macro, for which its adapter has nothing. #}
{% macro duckdb__safe_cast(value, type) -%}
  try_cast({{ value }} as {{ type }})
{%- endmacro %}

{# A column of a select list, and the end of a query, where the engine keeps the history in parts. #}
{% macro bucket(patient_id='') %}
  {{- return(adapter.dispatch('bucket')(patient_id)) }}
{% endmacro %}

{% macro default__bucket(patient_id) %}{% endmacro %}

{% macro by_bucket() %}
  {{- return(adapter.dispatch('by_bucket')()) }}
{% endmacro %}

{% macro default__by_bucket() %}{% endmacro %}

{# dbt comments on the columns that it knows; of one that appeared in the source the loader says what the API does. #}
{% macro duckdb__alter_column_comment(relation, column_dict) %}
  {% set query %}
    select column_name, comment from duckdb_columns()
    where schema_name = 'raw' and table_name = 'patients' and comment is not null
  {% endset %}
  {% set in_raw = {} %}
  {% for row in run_query(query).rows %}{% do in_raw.update({row[0]: row[1]}) %}{% endfor %}
  {% for column in adapter.get_columns_in_relation(relation) %}
    {% set described = column_dict.get(column.name, {}).get('description') %}
    {% set description = described or in_raw.get(column.name, 'As the source has it.') %}
    comment on column {{ relation }}.{{ quoted(column.name) }} is {{ duckdb_escape_comment(description) }};
  {% endfor %}
{% endmacro %}

{# dbt's own way adds a column, fills it and renames it; DuckDB cannot commit that together with other rows. Nor does it
   alter a table that has an index, and it does not say which one that is. #}
{% macro duckdb__alter_column_type(relation, column_name, new_column_type) %}
  {% set indexes %}
    select index_name from duckdb_indexes()
    where schema_name = '{{ relation.schema }}' and table_name = '{{ relation.identifier }}'
  {% endset %}
  {% for row in run_query(indexes).rows %}
    {{ exceptions.raise_compiler_error(
      'The columns of ' ~ relation.schema ~ '.' ~ relation.identifier ~ ' have to change, which the index ' ~ row[0]
      ~ ' does not allow. Drop it, run again, and create it again.'
    ) }}
  {% endfor %}
  {% do run_query(
    'alter table ' ~ relation ~ ' alter column ' ~ quoted(column_name) ~ ' type ' ~ new_column_type
  ) %}
{% endmacro %}
