{# SQL that not every engine understands stands here and nowhere else. #}

{# A value that holds several columns and is compared null-safely, as a whole. #}
{% macro content(names) %}
  {{- return(adapter.dispatch('content')(names)) }}
{% endmacro %}

{% macro duckdb__content(names) -%}
  row({{ columns(names) }})
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

{# A value as another type, null where it has no such value. #}
{% macro try_cast(value, type) %}
  {{- return(adapter.dispatch('try_cast')(value, type)) }}
{% endmacro %}

{% macro duckdb__try_cast(value, type) -%}
  try_cast({{ value }} as {{ type }})
{%- endmacro %}

{# Removes all rows of a table. #}
{% macro empty(table) %}
  {{- return(adapter.dispatch('empty')(table)) }}
{% endmacro %}

{% macro duckdb__empty(table) -%}
  delete from {{ table }}
{%- endmacro %}

{# How the history of touched patients takes the place of what it was. #}
{% macro incremental_strategy() %}
  {{- return(adapter.dispatch('incremental_strategy')()) }}
{% endmacro %}

{% macro duckdb__incremental_strategy() %}
  {{- return('delete+insert') }}
{% endmacro %}

{# A column of a select list, and the end of a query, where the engine keeps the history in parts. #}
{% macro bucket() %}
  {{- return(adapter.dispatch('bucket')()) }}
{% endmacro %}

{% macro default__bucket() %}{% endmacro %}

{% macro by_bucket() %}
  {{- return(adapter.dispatch('by_bucket')()) }}
{% endmacro %}

{% macro default__by_bucket() %}{% endmacro %}

{# What a load that was killed left behind. #}
{% macro drop_leftovers() %}
  {{- return(adapter.dispatch('drop_leftovers')()) }}
{% endmacro %}

{% macro default__drop_leftovers() %}{% endmacro %}

{% macro duckdb__drop_leftovers() %}
  {% set query %}
    select table_name from information_schema.tables
    where table_schema = 'main' and regexp_full_match(table_name, 'tmp_[0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}')
  {% endset %}
  {% for row in run_query(query) %}
    drop table main.{{ adapter.quote(row[0]) }};
  {% endfor %}
{% endmacro %}

{# A history without rows is made anew: what is added to a table later stands behind all of its columns. #}
{% macro drop_empty_history() %}
  {{- return(adapter.dispatch('drop_empty_history')()) }}
{% endmacro %}

{% macro default__drop_empty_history() %}{% endmacro %}

{% macro duckdb__drop_empty_history() %}
  {% set history = adapter.get_relation(target.database, 'main', 'patients_history') if execute %}
  {% if history and not run_query('select 1 from main.patients_history limit 1').rows %}
    {% do adapter.drop_relation(history) %}
    {% do adapter.commit() %}
  {% endif %}
{% endmacro %}

{# Keeps the log from growing where nothing changes. Of the new observations those are dropped that repeat what was
   observed of the patient just before; of records kept aside, all but the latest of the same. The history is the same
   without them, as long as what is loaded later was also observed later. #}
{% macro drop_repetitions() %}
  {{- return(adapter.dispatch('drop_repetitions')()) }}
{% endmacro %}

{% macro default__drop_repetitions() %}{% endmacro %}

{% macro duckdb__drop_repetitions() %}
  delete from raw.patients where rowid in (
    with observations as (
      select
        rowid as _sdc_row,
        row(
          {{ columns(log_columns() | reject('in', ['_sdc_extracted_at', '_sdc_batched_at'])) }},
          {{ is_believable('_sdc_extracted_at') }}
          {%- for since in late_attributes().values() %}, {{ observed_before(since, '_sdc_extracted_at') }}{% endfor %}
        ) as _sdc_seen,
        lag(_sdc_seen) over (
          partition by id
          order by
            _sdc_extracted_at,
            cast(_sdc_deleted_at as timestamp) nulls first,
            updated_at nulls first,
            {{ content(log_attributes() + ['created_at']) }}
        ) as _sdc_seen_before
      from raw.patients
      where id in (select id from raw.patients where _sdc_batched_at > (select loaded_until from staging.history_loaded_until))
    )

    select _sdc_row from observations
    where _sdc_seen = _sdc_seen_before
  );
  delete from raw.rejected_records where rowid in (
    select rowid from raw.rejected_records
    qualify row_number() over (partition by id, field, reason, part, record order by _sdc_extracted_at desc) > 1
  )
{% endmacro %}

{# dbt writes descriptions into the file for tables and views only. #}
{% macro comment_on_table_function() %}
  {{- return(adapter.dispatch('comment_on_table_function')()) }}
{% endmacro %}

{% macro default__comment_on_table_function() %}{% endmacro %}

{% macro duckdb__comment_on_table_function() %}
  comment on macro table main.{{ this.identifier }} is {{ duckdb_escape_comment(model.description) }}
{% endmacro %}

{# dbt's own way adds a column, fills it and renames it; DuckDB cannot commit that together with other rows. #}
{% macro duckdb__alter_column_type(relation, column_name, new_column_type) %}
  {% call statement('alter_column_type') %}
    alter table {{ relation }} alter column {{ adapter.quote(column_name) }} type {{ new_column_type }}
  {% endcall %}
{% endmacro %}
