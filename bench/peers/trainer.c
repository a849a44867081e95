/* What a C programmer writes in an afternoon: the book's algorithm, a mini-batch at a time.

   Compiled twice by plain_c.py, with -Dreal=float and -Dreal=double; no threads, no
   intrinsics, plain loops for the compiler to vectorise. Rows of X, Y, activations and deltas are
   samples; w[l] is (n_out, n_in) row-major. */
#include <math.h>
#include <stdlib.h>

static void forward(int m, int n_in, int n_out, const real *const *x, const real *w,
                    const real *b, real *a) {
    for (int j = 0; j < n_out; j++)
        for (int i = 0; i < m; i++) {
            real z = b[j];
            for (int k = 0; k < n_in; k++) z += w[j * n_in + k] * x[i][k];
            a[i * n_out + j] = 1 / (1 + (sizeof(real) == 4 ? expf(-z) : exp(-z)));
        }
}

static void backward(int m, int n_in, int n_out, const real *delta, const real *w,
                     const real *const *a, real *delta_in) {
    for (int i = 0; i < m; i++) {
        real *d = delta_in + i * n_in;
        for (int k = 0; k < n_in; k++) d[k] = 0;
        for (int j = 0; j < n_out; j++)
            for (int k = 0; k < n_in; k++) d[k] += delta[i * n_out + j] * w[j * n_in + k];
        for (int k = 0; k < n_in; k++) d[k] *= a[i][k] * (1 - a[i][k]);
    }
}

static void update(int m, int n_in, int n_out, const real *delta, const real *const *x, real *w,
                   real *b, real rate) {
    for (int j = 0; j < n_out; j++)
        for (int i = 0; i < m; i++) {
            real c = rate * delta[i * n_out + j];
            for (int k = 0; k < n_in; k++) w[j * n_in + k] -= c * x[i][k];
            b[j] -= c;
        }
}

/* Train on n samples in the given order; returns 0, or 1 if there is no memory. */
int train(int layers, const int *sizes, real **w, real **b, const real *X, const real *Y,
          const long *order, long n, int m, double eta) {
    real *a[layers], *delta[layers];
    const real **rows[layers]; /* rows[l][i]: activations of sample i in layer l */
    for (int l = 0; l < layers; l++) {
        a[l] = malloc(sizeof(real) * m * sizes[l]);
        delta[l] = malloc(sizeof(real) * m * sizes[l]);
        rows[l] = malloc(sizeof(real *) * m);
        if (!a[l] || !delta[l] || !rows[l]) return 1;
        for (int i = 0; i < m; i++) rows[l][i] = a[l] + (long)i * sizes[l];
    }
    for (long start = 0; start < n; start += m) {
        int size = n - start < m ? (int)(n - start) : m, top = layers - 1;
        for (int i = 0; i < size; i++) rows[0][i] = X + order[start + i] * sizes[0];
        for (int l = 1; l < layers; l++)
            forward(size, sizes[l - 1], sizes[l], rows[l - 1], w[l - 1], b[l - 1], a[l]);
        for (int i = 0; i < size; i++)
            for (int j = 0; j < sizes[top]; j++) {
                real out = a[top][i * sizes[top] + j], y = Y[order[start + i] * sizes[top] + j];
                delta[top][i * sizes[top] + j] = (out - y) * out * (1 - out);
            }
        for (int l = top; l > 0; l--) {
            if (l > 1)
                backward(size, sizes[l - 1], sizes[l], delta[l], w[l - 1], rows[l - 1],
                         delta[l - 1]);
            update(size, sizes[l - 1], sizes[l], delta[l], rows[l - 1], w[l - 1], b[l - 1],
                   (real)(eta / size));
        }
    }
    for (int l = 0; l < layers; l++) free(a[l]), free(delta[l]), free(rows[l]);
    return 0;
}
