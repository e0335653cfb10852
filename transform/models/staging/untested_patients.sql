{{ touched_patients('tested_until') }}
