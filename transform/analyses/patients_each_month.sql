-- how many patients there were at the end of each month; before the first load, of those that were there then
with steps as (
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

months as (
  select unnest(generate_series(min(month), max(month), interval 1 month)) as month
  from steps
)

select
  months.month,
  cast(sum(sum(coalesce(steps.step, 0))) over (order by months.month) as bigint) as patients
from months
left join steps on months.month = steps.month
group by months.month
order by months.month;
