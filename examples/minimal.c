/* Sums the ranks.
 *
 *     cc examples/minimal.c $(pkg-config --cflags --libs kirsh) -o minimal
 *     kirsh run -n 3 -- ./minimal
 */
#include <kirsh.h>
#include <stdio.h>

int main(void)
{
    kirsh_comm_t *comm = NULL;
    float sum = 0;
    if (kirsh_comm_create(NULL, &comm) == KIRSH_OK) {
        const float mine = (float)kirsh_comm_rank(comm);
        if (kirsh_allreduce(comm, &mine, &sum, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL) == KIRSH_OK) {
            printf("rank %d of %d: the ranks sum to %g\n", (int)mine, kirsh_comm_size(comm), sum);
            return kirsh_comm_destroy(comm) != KIRSH_OK;
        }
    }
    fprintf(stderr, "%s\n", kirsh_last_error());
    return 1;
}
