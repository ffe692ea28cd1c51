@echo off
rem The lab's door on Windows: makes build\venv with what requirements.txt names, once, then hands over to labkit.
rem
rem     harness\lab COMMAND ...          harness\lab --help lists the commands
rem
rem Exit code 2: the lab itself could not do its job.
setlocal
set "HERE=%~dp0"
set "VENV=%HERE%..\build\venv"
set "READY=%VENV%\door.ready"
set "PYTHONPATH=%HERE%"
set "PYTHONUTF8=1"
set "PYTHONDONTWRITEBYTECODE=1"

if exist "%READY%" goto start
where py >nul 2>nul && (set "PYTHON=py -3") || (set "PYTHON=python")
%PYTHON% -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>nul
if errorlevel 1 (
    echo lab: Python 3.11 or newer is missing; run: winget install Python.Python.3.13 1>&2
    exit /b 2
)
if /i "%~1"=="doctor" (
    %PYTHON% -m labkit %*
    exit /b
)
echo lab: making build\venv 1>&2
%PYTHON% -m venv "%VENV%" && "%VENV%\Scripts\python.exe" -m pip install --disable-pip-version-check -r "%HERE%requirements.txt" 1>&2
if errorlevel 1 (
    echo lab: build\venv could not be made; what pip said stands above 1>&2
    exit /b 2
)
type nul >"%READY%"

:start
"%VENV%\Scripts\python.exe" -m labkit %*
exit /b
