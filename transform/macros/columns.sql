{# A select list of columns. #}
{% macro columns(names) -%}
  {%- for name in names %}
    {{- adapter.quote(name) }}{{ ', ' if not loop.last }}
  {%- endfor %}
{%- endmacro %}

{# The same of columns of the log, with their types: a date is text there, since the loader has no type for it. A column
   whose type has changed is text, with what is in the columns that the loader put aside. #}
{% macro typed_columns(names) -%}
  {%- for name in names %}
    {%- set parts = [] %}
    {%- for column in log_columns() if name in [in_models(column), in_models(modules.re.sub(retyped(), '', column))] %}
      {%- do parts.append(adapter.quote(column)) %}
    {%- endfor %}
    {%- set value %}
      {%- if parts | length == 1 -%}
        {{ parts[0] }}
      {%- else -%}
        coalesce({% for part in parts %}cast({{ part }} as string){{ ', ' if not loop.last }}{% endfor %})
      {%- endif %}
    {%- endset %}
    {{- try_cast(value, var('types')[name]) if name in var('types') else value }} as {{ adapter.quote(name) }}
    {{- ', ' if not loop.last }}
  {%- endfor %}
{%- endmacro %}
