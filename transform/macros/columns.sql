{# Which columns there are, and how they are named and typed. Found at run time, so that a new column flows through. #}

{# The names of a patient's attributes in the models: those that every source has first, all others by name. #}
{% macro attributes() %}
  {% set first = ['email', 'first_name', 'last_name', 'date_of_birth'] %}
  {% set names = raw_attributes().keys() | list %}
  {{ return(first | select('in', names) | list + names | reject('in', first) | sort) }}
{% endmacro %}

{# The attributes that raw has today, without the key, the two instants and the loader's own: name in the models to name
   in raw. #}
{% macro raw_attributes() %}
  {% set names = raw_columns('patients') %}
  {% set result = {} %}
  {% for name in names if name not in ['id', 'created_at', 'updated_at', 'patient_bucket'] and name[:5] != '_sdc_' %}
    {% do result.update({in_models(name, result | map('lower') | list): name}) if before_retyping(name) not in names | reject('equalto', name) %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}

{# The name in the models of a column of the source: another one if the models call something of their own that, or
   another column of the source. dbt does not escape a double quote. #}
{% macro in_models(name, taken) %}
  {% set result = name | replace('"', "''") %}
  {{- return(in_models('source_' ~ result, taken) if result | lower in var('reserved_names') + taken else result) }}
{% endmacro %}

{% macro raw_columns(table) %}
  {{ return(adapter.get_columns_in_relation(source('raw', table)) | map(attribute='name') | list) }}
{% endmacro %}

{# The name that a column had before the loader put the instant behind it, since the column's type had changed. #}
{% macro before_retyping(name) %}
  {{ return(modules.re.sub('_[0-9]{8}_[0-9]{4,6}(_[0-9]+)?$', '', name)) }}
{% endmacro %}

{# The value of a column of raw.patients, which has columns of these names. One whose type has changed is what its columns
   of all types hold together, as text; one whose type the models rely on has that type. #}
{% macro raw_value(name, names) -%}
  {%- set type = var('types').get(name) %}
  {%- set values = [] %}
  {%- for column in names if column == name or before_retyping(column) == name %}
    {%- do values.append(safe_cast(quoted(column), type) if type else quoted(column)) %}
  {%- endfor %}
  {%- if values | length == 1 -%}
    {{ values[0] }}
  {%- elif type -%}
    coalesce({{ values | join(', ') }})
  {%- else -%}
    coalesce({% for value in values %}cast({{ value }} as string){{ ', ' if not loop.last }}{% endfor %})
  {%- endif %}
{%- endmacro %}

{# A select list of columns, all of one relation if its name is given. #}
{% macro columns(names, relation='') -%}
  {%- for name in names %}
    {{- relation ~ '.' if relation }}{{ quoted(name) }}{{ ', ' if not loop.last }}
  {%- endfor %}
{%- endmacro %}

{% macro quoted(name) -%}
  {%- set mark = adapter.quote('')[0] -%}
  {{ mark ~ name | replace(mark, mark ~ mark) ~ mark }}
{%- endmacro %}

{% macro literal(text) -%}
  '{{ escape_single_quotes(text) }}'
{%- endmacro %}
