{# A view keeps the database's name, which DuckDB derives from the file's: without it, a renamed copy still answers. #}
{% macro ref() %}
  {{ return(builtins.ref(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}

{% macro source() %}
  {{ return(builtins.source(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}
