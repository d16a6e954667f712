/* Times the system's libsrtp2 as ours.rs times us. For each suite that the library has it prints a line: the suite,
 * nanoseconds a packet of protect and of unprotect, the first protected packet. */
#include <srtp2/srtp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct suite {
    const char *name;
    void (*rtp)(srtp_crypto_policy_t *);
    void (*rtcp)(srtp_crypto_policy_t *);
} suites[] = {
    { "AES_CM_128_HMAC_SHA1_80", srtp_crypto_policy_set_rtp_default, srtp_crypto_policy_set_rtcp_default },
    { "AES_CM_128_HMAC_SHA1_32", srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32, srtp_crypto_policy_set_rtcp_default },
    { "AES_256_CM_HMAC_SHA1_80", srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80,
      srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80 },
    { "AES_256_CM_HMAC_SHA1_32", srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32,
      srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80 },
    { "AEAD_AES_128_GCM", srtp_crypto_policy_set_aes_gcm_128_16_auth, srtp_crypto_policy_set_aes_gcm_128_16_auth },
    { "AEAD_AES_256_GCM", srtp_crypto_policy_set_aes_gcm_256_16_auth, srtp_crypto_policy_set_aes_gcm_256_16_auth },
};

static void check(srtp_err_status_t status, const char *what)
{
    if (status != srtp_err_status_ok) {
        fprintf(stderr, "libsrtp2: %s: status %d\n", what, status);
        exit(1);
    }
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double middle(double *values, int count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static void write_packet(uint8_t *packet, int bytes, uint16_t seq)
{
    const uint8_t high = seq >> 8, low = seq;
    const uint8_t header[12] = { 0x80, 8, high, low, 0, 0, high, low, 0xca, 0xfe, 0xba, 0xbe };
    memcpy(packet, header, sizeof header);
    for (int at = sizeof header; at < bytes; at++)
        packet[at] = at - sizeof header;
}

/* Returns whether the library has the suite. */
static int open_session(srtp_t *session, const struct suite *suite, srtp_ssrc_type_t direction, uint8_t *key)
{
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    suite->rtp(&policy.rtp);
    suite->rtcp(&policy.rtcp);
    policy.ssrc.type = direction;
    policy.key = key;
    policy.window_size = 128;
    return srtp_create(session, &policy) == srtp_err_status_ok;
}

static void run(const struct suite *suite, int packets, int turns, int bytes)
{
    uint8_t key[64];
    for (int at = 0; at < (int)sizeof key; at++)
        key[at] = at * 7 + 1;
    srtp_t sender, receiver;
    if (!open_session(&sender, suite, ssrc_any_outbound, key) ||
        !open_session(&receiver, suite, ssrc_any_inbound, key)) {
        fprintf(stderr, "ABSENT libsrtp2 %s: the library was built without it\n", suite->name);
        return;
    }
    const size_t room = (bytes + SRTP_MAX_TRAILER_LEN + 63) / 64 * 64;
    uint8_t *buffers = aligned_alloc(64, packets * room);
    uint8_t *first = malloc(room), *last = malloc(room);
    double *protect_ns = calloc(turns, sizeof *protect_ns), *unprotect_ns = calloc(turns, sizeof *unprotect_ns);
    if (!buffers || !first || !last || !protect_ns || !unprotect_ns)
        exit(1);
    uint16_t seq = 0;
    int len = 0;
    for (int turn = 0; turn < turns; turn++) {
        for (int at = 0; at < packets; at++)
            write_packet(buffers + at * room, bytes, seq++);
        const double start = now_ns();
        for (int at = 0; at < packets; at++) {
            len = bytes;
            check(srtp_protect(sender, buffers + at * room, &len), "protect");
        }
        const double end = now_ns();
        if (turn == 0)
            memcpy(first, buffers, len);
        const double restart = now_ns();
        for (int at = 0; at < packets; at++) {
            int plain = len;
            check(srtp_unprotect(receiver, buffers + at * room, &plain), "unprotect");
        }
        unprotect_ns[turn] = (now_ns() - restart) / packets;
        protect_ns[turn] = (end - start) / packets;
        write_packet(last, bytes, seq - 1);
        if (memcmp(last, buffers + (packets - 1) * room, bytes) != 0) {
            fprintf(stderr, "libsrtp2 %s: another packet came out\n", suite->name);
            exit(1);
        }
    }
    printf("%s %.1f %.1f ", suite->name, middle(protect_ns, turns), middle(unprotect_ns, turns));
    for (int at = 0; at < len; at++)
        printf("%02x", first[at]);
    printf("\n");
    free(buffers);
    free(first);
    free(last);
    free(protect_ns);
    free(unprotect_ns);
    srtp_dealloc(sender);
    srtp_dealloc(receiver);
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s PACKETS TURNS BYTES\n", arguments[0]);
        return 2;
    }
    check(srtp_init(), "init");
    for (size_t at = 0; at < sizeof suites / sizeof suites[0]; at++)
        run(&suites[at], atoi(arguments[1]), atoi(arguments[2]), atoi(arguments[3]));
    return 0;
}
