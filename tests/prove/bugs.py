def switch_on(name: str) -> None:
    raise NotImplementedError
