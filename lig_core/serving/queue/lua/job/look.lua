-- How jobs stand. Nothing is changed.
return look(ARGUMENTS.jobs)
