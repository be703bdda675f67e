"""What a command says where it refuses."""


def refused(main, arguments, capsys):
    """The one line on standard error with which `main` ends, exit code 2."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error
