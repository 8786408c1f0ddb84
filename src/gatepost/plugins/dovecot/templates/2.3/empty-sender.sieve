# Runs before the script of each mailbox. Written by `gatepost up`: changes made here are lost.
#
# Marks bounces and other mail with an empty sender, with the fingerprint by which the MTA knows this
# mail store. Postfix takes nothing with that mark (redirects.cf), so a redirect fails and Sieve keeps
# the message; everything else in the user's script works. Symptom without it: a redirect to an
# address that refuses sends the bounce there too, no server may bounce a bounce (RFC 5321 section
# 6.1), and the owner finds neither.
require ["editheader", "envelope"];

if envelope :is "from" "" {
  addheader "X-Sieve-Empty-Sender" "{{ relay_fingerprint }}";
}
