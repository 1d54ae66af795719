"""What CrossChat is compared with, in the same run: a module each, with a class that keeps `bench.systems.System`."""
