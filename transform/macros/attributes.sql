{# The names of a patient's attributes in the models. Found at run time, so that a new column flows through. #}
{% macro attributes() %}
  {% set result = [] %}
  {% for name in log_attributes() %}
    {% do result.append(in_models(name)) %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}

{# The name in the models of a column of the source: another one if the models call something of their own that. #}
{% macro in_models(name) %}
  {{- return('source_' ~ name if name in var('names_of_models') else name) }}
{% endmacro %}

{# The columns of the source as the log has them today, without the key, the two instants and the loader's own. #}
{% macro log_attributes() %}
  {% set names = log_columns() %}
  {% set result = [] %}
  {% for name in names if name not in ['id', 'created_at', 'updated_at', 'patient_bucket'] and not name.startswith('_sdc_') %}
    {% do result.append(name) if not modules.re.sub(retyped(), '', name) in names | reject('equalto', name) %}
  {% endfor %}
  {{ return(result) }}
{% endmacro %}

{% macro log_columns() %}
  {{ return(adapter.get_columns_in_relation(source('raw', 'patients')) | map(attribute='name') | list) }}
{% endmacro %}

{# What the loader puts behind the name of a column when it makes another of that name, since the type has changed. #}
{% macro retyped() %}
  {{ return('_[0-9]{8}_[0-9]{4}$') }}
{% endmacro %}
