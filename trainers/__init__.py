"""One method per file. Importing the package registers every method in it, so adding a file is all there is to do."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
