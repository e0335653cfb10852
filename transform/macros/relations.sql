{# Views name schema and table, not the database: DuckDB calls that after the file, and a copied or renamed file would
   be left with views of nothing. #}
{% macro ref() %}
  {{ return(builtins.ref(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}

{% macro source() %}
  {{ return(builtins.source(*varargs, **kwargs).include(database=false)) }}
{% endmacro %}
