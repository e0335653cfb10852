-- When the newest observation in the history was loaded.
select built_until from bookkeeping.builds
