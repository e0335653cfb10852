{# What an observation tells; the rule of the history and the dropping of repetitions must agree on it. #}

{# Whether `updated_at` can be believed: a clock of the source that runs ahead, or a wrong time zone, are less than a day. #}
{% macro is_believable(observed_at='observed_at') -%}
  updated_at <= {{ add_microseconds(observed_at, 24 * 3600 * 1000000) }}
{%- endmacro %}

{# The attributes that the first run did not find in the source, and the instant of the first run that did, if one has.
   A null that was observed before is unknown. #}
{% macro late_attributes() %}
  {% set query %}
    select lower(columns), cast(min(started_at) as string) as since from {{ source('raw', 'syncs') }}
    where columns is not null
    group by columns
    order by min(started_at)
  {% endset %}
  {% set runs = run_query(query).rows if execute else [] %}
  {% set result = {} %}
  {% for name in log_attributes() if runs and name not in runs[0][0].split(',') %}
    {% set since = [] %}
    {% for run in runs if name in run[0].split(',') %}
      {% do since.append(run[1]) %}
    {% endfor %}
    {% do result.update({in_models(name): since | first}) %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}

{# Whether an observation was made before a column appeared. #}
{% macro observed_before(since, observed_at='observed_at') -%}
  {{ observed_at ~ " < timestamp '" ~ since ~ "'" if since else 'true' }}
{%- endmacro %}
