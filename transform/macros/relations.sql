{# Leave out the name of the database, which DuckDB derives from the file's name: otherwise the views of a renamed copy
   would fail. #}
{% macro ref() %}
  {{ return(builtins.ref(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}

{% macro source() %}
  {{ return(builtins.source(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}
