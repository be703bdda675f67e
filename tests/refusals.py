"""Commands that refuse their input."""


def refused(main, arguments, capsys):
    """The single line that `main` writes to standard error when it exits with code 2."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error
