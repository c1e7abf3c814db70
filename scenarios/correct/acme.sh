# An ACME client (RFC 8555) by hand, of curl and openssl, in place of `guard obtain`. A pipeline
# sources it after lib.sh. Those in ../flawed replace one function each with one that has a bug.
#
# shellcheck shell=bash disable=SC2154

account=$state/account.pem
challenges=$ROOT/var/www/.well-known/acme-challenge
nonce='' kid='' status='' body=''

base64url() {
    local text
    text=$(basenc --base64url --wrap=0)
    printf %s "${text%%=*}"
}

# The account's public key, in the one form that it has a thumbprint in (RFC 7638).
jwk() {
    local modulus
    modulus=$(openssl rsa -in "$account" -noout -modulus | sed 's/.*=//; s/../\\x&/g')
    printf '{"e":"AQAB","kty":"RSA","n":"%s"}' "$(printf %b "$modulus" | base64url)"
}

# One request; its answer in $status, $body, $location and $nonce.
request() {
    local answer
    answer=$(curl --silent --show-error --include --cacert "$CA_BUNDLE" --max-time 10 "$@")
    body=${answer#*$'\r\n\r\n'}
    read -r _ status _ <<<"$answer"
    location=$(header location "$answer")
    nonce=$(header replay-nonce "$answer")
}

# A field of the head of an answer.
header() {
    shopt -s nocasematch
    if [[ ${2%%$'\r\n\r\n'*} =~ $'\n'$1:\ *([^$'\r']*) ]]; then
        echo "${BASH_REMATCH[1]}"
    fi
}

# A text of the JSON in $body.
field() {
    [[ $body =~ \"$1\":\ *\"([^\"]*)\" ]] && echo "${BASH_REMATCH[1]}"
}

# Asks as the account (section 6.2), and again with the nonce of the answer where the CA refuses the
# one that was sent (section 6.5).
post() {
    local tries
    for tries in 1 2 3; do
        sign_and_send "$@"
        [[ $status == 400 && $body == *:badNonce* ]] || return 0
    done
}

sign_and_send() {
    local url=$1 payload=$2 protected signature who
    if [[ $kid ]]; then who="\"kid\":\"$kid\""; else who="\"jwk\":$(jwk)"; fi
    protected=$(printf '{"alg":"RS256",%s,"nonce":"%s","url":"%s"}' "$who" "$nonce" "$url" | base64url)
    payload=$(printf %s "$payload" | base64url)
    signature=$(printf %s "$protected.$payload" | openssl dgst -sha256 -sign "$account" | base64url)
    request --header 'Content-Type: application/jose+json' \
        --data "{\"protected\":\"$protected\",\"payload\":\"$payload\",\"signature\":\"$signature\"}" "$url"
}

# The same, where any answer but a good one is a failure.
ask() {
    post "$@"
    [[ $status == 20? ]] || fail "$1"
}

fail() {
    echo "the CA answered $1 with $status: $body" >&2
    exit 1
}

ask_the_ca() {
    request "$DIRECTORY_URL"
    [[ $status == 200 ]] || fail "$DIRECTORY_URL"
    local new_nonce new_account
    new_nonce=$(field newNonce) new_account=$(field newAccount) new_order=$(field newOrder)
    request --head "$new_nonce"
    if [[ ! -e $account ]]; then
        openssl genrsa -out "$account.new" 2048
        mv "$account.new" "$account"
    fi
    ask "$new_account" '{"termsOfServiceAgreed":true}'
    kid=$location
    place_order
}

place_order() {
    local order authorization finalize
    ask "$new_order" '{"identifiers":[{"type":"dns","value":"example.com"}]}'
    order=$location finalize=$(field finalize)
    [[ $body =~ \"authorizations\":\ *\[[[:space:]]*\"([^\"]*)\" ]]
    authorization=${BASH_REMATCH[1]}
    authorize "$authorization"
    await "$order" ready
    rm "$challenges"/*
    ask "$finalize" "{\"csr\":\"$(signing_request)\"}"
    await "$order" valid
    download "$(field certificate)"
}

authorize() {
    ask "$1" ''
    [[ $body =~ \"type\":\ *\"http-01\",[[:space:]]*\"url\":\ *\"([^\"]*)\",[[:space:]]*\"token\":\ *\"([^\"]*)\" ]]
    local challenge=${BASH_REMATCH[1]} token=${BASH_REMATCH[2]} thumbprint
    thumbprint=$(jwk | openssl dgst -sha256 -binary | base64url)
    (umask 022 && mkdir --parents "$challenges" && printf %s "$token.$thumbprint" >"$challenges/$token")
    ask "$challenge" '{}'
}

# Until the order has a status, for some seconds.
await() {
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        ask "$1" ''
        case $(field status) in
        "$2") return ;;
        invalid) break ;;
        esac
        sleep 0.1
    done
    unsuccessful "$@"
}

unsuccessful() {
    fail "$1, which should become $2,"
}

signing_request() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$new/privkey.pem" -subj / \
        -addext 'subjectAltName=DNS:example.com' -outform DER 2>/dev/null | base64url
}

# Nothing is put in place that a server could not use.
download() {
    ask "$1" ''
    printf '%s\n' "$body" >"$new/fullchain.pem"
    [[ $(openssl x509 -in "$new/fullchain.pem" -noout -pubkey) == "$(openssl pkey -in "$new/privkey.pem" -pubout)" ]]
}
