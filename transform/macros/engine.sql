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
