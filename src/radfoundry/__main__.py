"""`python -m radfoundry`."""

from radfoundry.cli.main import main

raise SystemExit(main())
