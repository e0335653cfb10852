{# A select list of columns. #}
{% macro columns(names) -%}
  {%- for name in names %}
    {{- adapter.quote(name) }}{{ ', ' if not loop.last }}
  {%- endfor %}
{%- endmacro %}

{# The same of columns of the log: the source's dates are text there, since the loader has no type for them. #}
{% macro typed_columns(names) -%}
  {%- for name in names %}
    {%- set column = adapter.quote(name) %}
    {{- 'cast(' ~ column ~ ' as date) as ' ~ column if name in var('date_columns') else column }}{{ ', ' if not loop.last }}
  {%- endfor %}
{%- endmacro %}
