#!/bin/sh
# Install Debian's rabbitmq-server for private nodes. The package would start a broker on all interfaces, now and at
# each boot, with the user guest: while it is installed, policy-rc.d says no to that, and afterwards it is disabled.
set -eu

[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && exit 0
here=$(dirname "$0")
if [ "$(id -u)" -ne 0 ]; then
    echo "RabbitMQ's server is missing. As root: $here/install-rabbitmq.sh" >&2
    echo "(it installs rabbitmq-server from Debian without starting a system-wide broker)," >&2
    echo "or put the host of a RabbitMQ of yours into [amqp] host." >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
saved=/usr/sbin/policy-rc.d.saved-by-richmond
ours="Richmond's, while it installs rabbitmq-server"
units="rabbitmq-server.service"
# Whoever had Erlang before may need its epmd.
[ -e /lib/systemd/system/epmd.service ] || units="$units epmd.service epmd.socket"

restore() {
    if [ -e "$saved" ] || [ -L "$saved" ]; then
        mv -f "$saved" "$policy"
    elif grep -qs "$ours" "$policy"; then
        rm -f "$policy"
    fi
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

grep -qs "$ours" "$policy" && restore # left by one that was killed
if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$saved"
fi
cat >"$policy" <<POLICY
#!/bin/sh
# $ours
for argument; do
    case \$argument in
        -*) ;;
        rabbitmq-server | rabbitmq-server.* | epmd | epmd.*) exit 101 ;;
        *) break ;;
    esac
done
[ ! -x $saved ] || exec $saved "\$@"
POLICY
chmod 755 "$policy"

"$here/apt-install.sh" rabbitmq-server

for unit in $units; do
    # deb-systemd-helper also works, and matters, where systemd does not run now.
    deb-systemd-helper disable "$unit" >/dev/null 2>&1 || systemctl disable "$unit" >/dev/null 2>&1 || true
done
update-rc.d rabbitmq-server disable >/dev/null 2>&1 || true
