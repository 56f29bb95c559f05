"""How the tables of the monitor store came to be, run by `radfoundry.monitor.database`."""
