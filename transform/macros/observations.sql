{# What an observation tells; the rule of the history and the dropping of repetitions must agree on it. #}

{# When the source says that it came to be so: `updated_at`, or the instant of the deletion. An `updated_at` more than a
   day later than when it was seen is not believed: a clock that runs ahead, or a wrong time zone, is less. #}
{% macro stated_at(observed_at='observed_at', updated_at='updated_at', deleted_at='deleted_at') -%}
  case
    when {{ deleted_at }} is not null then {{ deleted_at }}
    when {{ updated_at }} <= {{ add_microseconds(observed_at, 24 * 3600 * 1000000) }} then {{ updated_at }}
  end
{%- endmacro %}

{# The columns that some runs did not emit, with the intervals from one run's start to another's in which they were
   unknown. What a run emitted holds until the next one starts, what the first did also before it. A column that no run
   emitted and that is null everywhere is left out: whether that is known changes nothing. #}
{% macro unknown_intervals() %}
  {% set query %}
    select emitted, cast(started_at as string) as started_at from (
      select
        started_at,
        lower(columns) as emitted,
        lag(lower(columns)) over (order by started_at) as emitted_before
      from {{ source('raw', 'syncs') }}
      where columns is not null
    ) as runs
    where emitted is distinct from emitted_before
    order by started_at
  {% endset %}
  {% set runs = run_query(query).rows if execute else [] %}
  {% set result = {} %}
  {% for name, name_in_raw in raw_attributes().items() %}
    {% set intervals = [] %}
    {% for run in runs if ',' ~ name_in_raw | lower ~ ',' not in ',' ~ run[0] ~ ',' %}
      {% set index = runs.index(run) %}
      {% do intervals.append([run[1] if index, runs[index + 1][1] if index + 1 < runs | length]) %}
    {% endfor %}
    {% if intervals and (intervals | length < runs | length or has_values(name_in_raw)) %}
      {% do result.update({name: intervals}) %}
    {% endif %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}

{# Whether a column of raw.patients holds anything: a run that was killed can have emitted it. #}
{% macro has_values(name) %}
  {% set query %}
    select 1 from {{ source('raw', 'patients') }} where {{ quoted(name) }} is not null limit 1
  {% endset %}
  {{ return(run_query(query).rows | length > 0) }}
{% endmacro %}

{# Whether a column was unknown when it was observed, given the intervals in which it was. #}
{% macro is_unknown(intervals, observed_at='observed_at') -%}
  (
    {%- for since, until in intervals -%}
      ({{ observed_at ~ " >= timestamp '" ~ since ~ "'" if since else 'true' -}}
      {{ ' and ' ~ observed_at ~ " < timestamp '" ~ until ~ "'" if until }}){{ ' or ' if not loop.last }}
    {%- endfor -%}
  )
{%- endmacro %}

{# The order in which the observations of a patient were seen. #}
{% macro seen_order() -%}
  observed_at, deleted_at nulls first, updated_at nulls first
{%- endmacro %}
