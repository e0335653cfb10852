-- patients at the end of each month; before the first load, only patients that it found count
with steps as (
  select
    date_trunc('month', case when version_number = 1 then least(created_at, valid_from) else valid_from end) as month,
    1 as step
  from main.patients_history
  union all
  select date_trunc('month', valid_to), -1 from main.patients_history where not is_current
),

months as (
  select unnest(generate_series(min(month), date_trunc('month', now()), interval 1 month)) as month from steps
)

select
  strftime(months.month, '%Y-%m') as month,
  cast(sum(sum(steps.step)) over (order by months.month) as bigint) as patients
from months
left join steps on months.month = steps.month
group by months.month
order by months.month;
