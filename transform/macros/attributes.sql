{# The names of a patient's attributes: the columns of the source as the log has them today, without the key, the two
   instants and the loader's own. Found at run time, so that a new column flows through. #}
{% macro attributes() %}
  {% set names = adapter.get_columns_in_relation(source('raw', 'patients')) | map(attribute='name') %}
  {% set kept = ['id', 'created_at', 'updated_at'] %}
  {% set result = [] %}
  {% for name in names if name not in kept and not name.startswith('_sdc_') %}
    {% do result.append(name) %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}
