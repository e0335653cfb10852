-- how many patients there were at the end of each month; before the first load: of those that it found
with events as (
  select
    date_trunc('month', case when version_number = 1 then least(created_at, valid_from) else valid_from end) as month,
    1 as step
  from main.patients_history
  union all
  select
    date_trunc('month', valid_to) as month,
    -1 as step
  from main.patients_history
  where not is_current
),

steps as (
  select
    month,
    sum(step) as step
  from events
  group by month
),

months as (
  select unnest(generate_series(min(month), max(month), interval 1 month)) as month
  from steps
)

select
  strftime(months.month, '%Y-%m') as month,
  cast(sum(steps.step) over (order by months.month) as bigint) as patients
from months
left join steps on months.month = steps.month
order by months.month;
