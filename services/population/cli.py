import typer

app = typer.Typer()


@app.command()
def demo() -> None: ...


@app.command()
def stats() -> None: ...
